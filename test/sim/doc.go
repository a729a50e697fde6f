// Package sim runs the real coordinators and catalogs in a simulated cluster: many hosts, an in-memory network, simulated
// disks, a clock of its own. Years pass in seconds, and everything that can go wrong does: processes crash, disks are wiped
// or fill up, bits flip, the network delays, repeats, loses and splits, clocks jump, catalogs are lost or old ones put back.
//
// After every step that could break one, the invariants of the design are checked against the truth, which the simulation
// knows and the coordinators don't. When faults end, every file must get its replicas, and then nothing may move any more.
//
// A run is decided by its seed. It is single-threaded: processes are coroutines ([proc]) that the clock wakes.
package sim
