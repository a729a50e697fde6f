// Package sim runs the real coordinators and catalogs, and the real copy, drop and verify loops of their clients, in a simulated
// cluster: many hosts, an in-memory network, simulated disks, a clock of its own. Years pass in seconds, and everything that can
// go wrong does: processes crash, disks are wiped, fill up or are pulled out, bits flip, the network delays, repeats, loses and
// splits, clocks jump, catalogs are lost or old ones put back, and hosts act for sources by listings old and new, whether the source's
// host is there or not ([acting]).
//
// After every step that could break one, the invariants of the design are checked against the truth, which the simulation
// knows and the coordinators don't. When faults end, every file must get its replicas, and then nothing may move any more.
//
// What is simulated is the world around them: a coordinator is reached over the network ([remote]), a location is numbers ([disk]),
// keys are due in virtual time ([queue]), and what waits is a coroutine ([proc]) that the clock wakes. A run is single-threaded and
// decided by its seed.
package sim
