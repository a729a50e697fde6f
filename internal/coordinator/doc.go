// Package coordinator is the passive half of the protocol: one [Coordinator] for each source, on the source's host. It
// answers what the other hosts ask (who am I and what do I hold, what may I copy, is what I copied right, may I let
// this one go) from its catalog, and never calls anyone.
//
// What it promises:
//
//   - A replica counts only after its holder has confirmed it with the digest of what lies on the holder's disk, equal to
//     the digest of a source version that did not change while it was read; and after that is durable.
//   - A replica stops counting, durably, before the answer that lets its holder delete it is given; and such an answer is
//     given only when enough other hosts, in different failure domains, hold the current version, confirmed, live
//     (they answered to what this coordinator said lately), and have said since it started that they still hold it.
//   - What cannot be told is never a yes: a message from before the coordinator's start, or from before the sender's
//     latest request to drop, counts nothing.
//   - A coordinator whose catalog is lost or older than what its holders know grants no drop until every known holder has
//     reported what it holds or was declared gone.
//
// While the source's host is gone for good, a Coordinator on another host can act for it, in a mode ([Config.Acting]) in which it only ever
// orders copies between holders.
//
// The messages are plain structs in this package; the transport between hosts is somebody else's. The sender's name is
// always an argument, taken from its certificate, never a field.
package coordinator
