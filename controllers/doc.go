// Package controllers holds the loops of a host, one file a loop, each a Reconciler for the engine in reconcile:
//
//	scan      a source of this host: walk the tree into the catalog, write the manifest
//	copy      a source of another host: say hello, tell what is held, claim, copy with rsync, publish, confirm
//	drop      the same: retire what is deleted, ask for relief, delete under grants
//	location  a location of this host: open it, watch its identity and space, expire versions, set aside
//	          replicas of a source that is on this host by now
//	verify    a location of this host: read replicas again and report decay
//	config    the desired state: pull what is newer from a few other hosts
//
// Each reconcile gathers what is, decides, acts and reports; it may be interrupted anywhere and begun again.
package controllers
