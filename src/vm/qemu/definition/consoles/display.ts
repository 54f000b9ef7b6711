/** What shows a VM's screen at the destination: VNC, where and if its administrator says so. Pure. */

/** Nobody; a socket in the VM's run folder; a port of this host's own address. */
export const vncPolicies = ["none", "unix", "127.0.0.1"] as const;

export type VncPolicy = (typeof vncPolicies)[number];
