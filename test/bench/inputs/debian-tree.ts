/** The files of a Debian server, unpacked and configured by its own package manager, once, and kept in a cache. */
import { dirname, join } from "node:path";
import { builtOnce } from "../../support/files/built-once.ts";
import { guestImage } from "../../support/guests/guest-image.ts";
import { type Availability, imageTools, missingTools } from "../../support/runner/needs.ts";
import { runChild } from "../../support/system/child.ts";

const codename = "bookworm";
/** What makes a small server of it: about 1.2 GiB of programs, libraries, documents and a fresh database. */
const packages = [
  "openssh-server",
  "nginx",
  "mariadb-server",
  "git",
  "g++",
  "python3",
  "vim-nox",
  "openjdk-17-jre-headless",
  "rsync",
  "curl",
];

/**
 * Whether the tree is in reach: the bootstrap program, root (it configures packages in a chroot) and Debian 12's
 * archive in apt's own configuration. Never throws: it says why not, and what to do.
 */
export async function debianAvailability(): Promise<Availability> {
  const missing = missingTools(imageTools);
  if (missing.length > 0) {
    const names = missing.map(({ program }) => program).join(", ");
    const advice = missing.flatMap((tool) => tool.package ?? []).join(" ");
    return { available: false, reason: `missing: ${names}; as root: apt-get install ${advice}` };
  }
  if (process.getuid?.() !== 0) {
    return { available: false, reason: "only root can configure Debian's packages in a chroot" };
  }
  try {
    if ((await archives()).length > 0) return { available: true, reason: "" };
    return { available: false, reason: `apt's configuration names no archive of Debian ${codename}` };
  } catch (error) {
    return { available: false, reason: error instanceof Error ? error.message : String(error) };
  }
}

/**
 * The root folder of the system, from the cache where it is there for the packages' current versions. It must not
 * be changed. Throws an Error that names the command that failed.
 */
export async function debianTree(): Promise<string> {
  const sources = await archives();
  const shown = await runChild(["apt-cache", "show", "--no-all-versions", ...packages]);
  const versions = shown.match(/^(?:Package|Version): .*$/gm) ?? [];
  const key = Bun.hash(JSON.stringify([codename, packages, versions])).toString(16);
  // The guest's image lies in the cache folder, which is this user's alone.
  const cache = dirname(dirname((await guestImage()).kernel));
  const folder = join(cache, `debian-${codename}-${key}`);
  await builtOnce(folder, async (building, tree) => {
    await runChild(
      [
        // It mounts /dev and /proc in the tree. In a mount namespace of its own those mounts go with it, however
        // it ends, and the folder can be removed without a look at what is still mounted in it.
        ...[
          "unshare",
          "--mount",
          "mmdebstrap",
          "--quiet",
          "--mode=root",
          "--variant=important",
          "--format=directory",
        ],
        ...[`--include=${packages.join(",")}`, codename, tree, ...sources],
      ],
      // The same times in the files on every run.
      { env: { ...process.env, SOURCE_DATE_EPOCH: "1700000000", TMPDIR: building } },
    );
  });
  return folder;
}

/** The archives of that Debian that this machine's apt fetches from, as lines of a sources.list. */
async function archives(): Promise<string[]> {
  const format = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)";
  const list = async (): Promise<string[]> => {
    const text = await runChild(["apt-get", "indextargets", "--format", format, "Created-By: Packages"]);
    return text.split("\n").flatMap((line) => {
      const [origin, uri, release = "", component] = line.split("|");
      const isOurs = origin === "Debian" && release.split("-")[0] === codename && component === "main";
      return isOurs ? [`deb ${uri} ${release} main`] : [];
    });
  };
  let found = await list();
  if (found.length === 0) {
    // It knows what the lists say, so they have to be there.
    await runChild(["apt-get", "update"]);
    found = await list();
  }
  return [...new Set(found)];
}
