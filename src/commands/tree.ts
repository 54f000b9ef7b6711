/** All commands of the program, by what is typed. */
import type { CommandGroup } from "./cli/define-command.ts";

/** Each is loaded when it is asked for, so that `--version` and scripts need not wait for all. */
export const tree: CommandGroup = {
  name: "migrate",
  summary: "move virtual machines between hosts: RAM, disks, virtual TPM, and the right to run them",
  commands: {
    serve: async () => (await import("./serve.ts")).default,
    send: async () => (await import("./send.ts")).default,
    tune: async () => (await import("./upkeep/tune.ts")).default,
    prune: async () => (await import("./upkeep/prune.ts")).default,
    status: async () => (await import("./status.ts")).default,
    resolve: async () => (await import("./resolve.ts")).default,
    history: async () => (await import("./history.ts")).default,
    verify: async () => (await import("./verify.ts")).default,
    ls: async () => (await import("./ls.ts")).default,
    export: async () => (await import("./vms/export.ts")).default,
    delete: async () => (await import("./vms/delete.ts")).default,
    start: async () => (await import("./vms/start.ts")).default,
    explain: async () => (await import("./explain.ts")).default,
    id: async () => (await import("./id.ts")).default,
    trust: async () => (await import("./trust.ts")).default,
    doctor: async () => (await import("./doctor.ts")).default,
    profile: async () => (await import("./profile.ts")).default,
    "send-guard": async () => (await import("./send-guard.ts")).default,
    confined: async () => (await import("./confined.ts")).default,
    "profile-side": async () => (await import("./profile-side.ts")).default,
    demo: async () => (await import("./demo.ts")).default,
  },
};
