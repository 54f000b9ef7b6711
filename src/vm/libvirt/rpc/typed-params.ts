/**
 * Typed parameters of libvirt: a list of names with values, each with its type (remote_typed_param of
 * src/remote/remote_protocol.x; VIR_TYPED_PARAM_* of include/libvirt/libvirt-common.h). Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import type { XdrReader, XdrWriter } from "./xdr.ts";

/** A parameter; the names of types are those of VIR_TYPED_PARAM_*. */
export type TypedParam = { field: string } & (
  | { type: "int" | "uint" | "boolean" | "double"; value: number }
  | { type: "llong" | "ullong"; value: bigint }
  | { type: "string"; value: string }
);

/** Most parameters of a call of a migration: REMOTE_DOMAIN_MIGRATE_PARAM_LIST_MAX. */
const mostParams = 64;
/** Longest name of a parameter in bytes; VIR_TYPED_PARAM_FIELD_LENGTH is 80 with its NUL. */
const fieldBytes = 79;

const typeNumbers = {
  int: 1,
  uint: 2,
  llong: 3,
  ullong: 4,
  double: 5,
  boolean: 6,
  string: 7,
} as const;

/**
 * The parameters of a call, a text of at most `textBytes` bytes each.
 * @throws MigrateError "protocol" if there are more than 64, or one cannot be read.
 */
export function readTypedParams(reader: XdrReader, textBytes: number): TypedParam[] {
  return reader.array(mostParams, () => readTypedParam(reader, textBytes));
}

function readTypedParam(reader: XdrReader, textBytes: number): TypedParam {
  const field = reader.string(fieldBytes);
  switch (reader.i32()) {
    case typeNumbers.int:
      return { field, type: "int", value: reader.i32() };
    case typeNumbers.uint:
      return { field, type: "uint", value: reader.u32() };
    case typeNumbers.llong:
      return { field, type: "llong", value: reader.i64() };
    case typeNumbers.ullong:
      return { field, type: "ullong", value: reader.u64() };
    case typeNumbers.double:
      return { field, type: "double", value: reader.double() };
    case typeNumbers.boolean:
      return { field, type: "boolean", value: reader.i32() };
    case typeNumbers.string:
      return { field, type: "string", value: reader.string(textBytes) };
    default:
      throw new MigrateError("protocol", "A parameter in a message of libvirt has an unknown type");
  }
}

export function writeTypedParams(writer: XdrWriter, params: readonly TypedParam[]): void {
  writer.array(params, (param) => {
    writer.string(param.field).i32(typeNumbers[param.type]);
    switch (param.type) {
      case "int":
      case "boolean":
        return writer.i32(param.value);
      case "uint":
        return writer.u32(param.value);
      case "double":
        return writer.double(param.value);
      case "llong":
        return writer.i64(param.value);
      case "ullong":
        return writer.u64(param.value);
      case "string":
        return writer.string(param.value);
    }
  });
}
