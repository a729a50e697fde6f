// Package desired is the desired state: the set of resources (Sources, Locations, Hosts, the Cluster) that users apply, whole on every
// host.
//
// [Store] is what the rest of the program sees of it. [Files] is the store of a household: a folder of YAML files, one resource
// each, that reads like what a user would write. Hosts keep their sets alike by pull: each compares its [Files.Digest] with a
// peer's now and then and merges what [Files.Diff] of the peer gives. Another store (one for a fleet, on etcd) has to pass the suite
// in package storetest.
//
// What Files promises:
//
//   - A change is on disk, whole, before the call returns; a crash leaves the old file or the new one.
//   - Hosts that have exchanged everything have the same set, whatever the order. Of two versions of one resource the one with
//     the greater [Version] stays: the later by hybrid logical clock, then by host name. If neither knew of the other, the loser is
//     kept in the folder superseded/ and reported as an event.
//   - A deletion is a version too (a tombstone, in the folder deleted/), kept for 90 days so that a host which was away learns of it.
//     A host that was away for longer brings back what was deleted meanwhile: rather one resource too many than one too few.
//   - What is written by hand into a file is noticed ([Files.Refresh]) and taken in as a change made here and now, or refused with
//     file, line and reason while the last good version stays in force. A file that vanishes deletes nothing; it is written again.
//   - A file that cannot be understood is never overwritten. At start it is an error that names it.
//   - A peer whose clock is more than [MaxAhead] ahead is not believed, so that one wrong clock cannot decide every conflict to come.
//
// # The folder
//
//	resources/KIND.NAME.yaml             what is desired; kind in lower case
//	resources/deleted/KIND.NAME.yaml     tombstones: the last version, with deletionTimestamp
//	resources/superseded/KIND.NAME~TIME.yaml   versions that lost, and broken files that a newer version replaced;
//	                                     kept 90 days, and a hundred of them in any case
package desired
