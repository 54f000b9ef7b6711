/**
 * The polyfill that @peculiar/x509 needs, in a module of its own: where modules are loaded lazily the
 * bundler runs a CommonJS import after the ES modules of the same file, which is too late.
 */
import "reflect-metadata";
