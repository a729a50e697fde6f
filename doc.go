// Package clusterbackup is a tour of the house; it holds no code.
//
// Start with api/v1: the kinds that users write. Desired state (internal/desired) is a small set of them, whole on every host.
//
// A host with a source runs a coordinator for it (internal/coordinator): it keeps the catalog (internal/catalog) of the source's
// files and of who holds which, fed by a scan (internal/tree), and only ever answers. A host with a location
// (internal/location) runs the client's loops (controllers) which ask every coordinator what is to be done, copy files, whole
// (internal/stream) or what differs (internal/rsync), and confirm what they have. Decisions that need thought (who takes which file, who may drop one) are
// pure functions in internal/placement.
//
// The loops run on the engine in reconcile; hosts talk through transport; who is who is internal/pki. internal/daemon wires a
// host, internal/admin is what administrators may ask it, internal/cli and internal/web do ask. internal/restore brings files
// back from whichever holders are up, by the manifest (internal/manifest) that each of them has. Whoever opens files of a source,
// a location or a target goes through internal/beneath, which follows no link.
//
// Arrows between the rooms are kept by a test in hack.
package clusterbackup
