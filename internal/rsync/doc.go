// Package rsync moves files from one host to another with the system's rsync, over a connection that is already
// authenticated, and keeps a sender from showing anything but the one folder it was told to serve.
//
// It is for files that the receiving host has something of; others come by internal/stream.
//
// The receiving host calls Pull.Run. It starts rsync with "cbd rsh" as its remote shell; that dials the peer, asks for a
// source or a location (internal/ask), and pumps bytes (Shell). The peer, once it has said yes, calls ServeModule, which runs
// rsync's own daemon mode on the connection, read-only and locked into the folder: by chroot as root, by Landlock where Linux
// has it, and by rsync's checks. What the peer asks of rsync is never interpreted by us and never reaches a command line.
//
//	holder                                       source's host
//	Pull.Run ─ rsync ─ cbd rsh: Shell ══ TLS ══ ServeModule ─ rsync --server --daemon
//
// What arrived is learnt from what lies on disk afterwards: Run says only whether it is worth looking.
package rsync

// ALPN is the protocol's name in TLS: one connection, the question what to serve (internal/ask), then rsync's bytes.
const ALPN = "cb-rsync/1"
