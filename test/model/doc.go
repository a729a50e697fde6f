// Package model explores the protocol of copies, confirmations and drops exhaustively: every order of steps, crashes, lost,
// late and repeated messages that a small cluster (three hosts, two or three files, two replicas each) can meet.
//
// It decides with the predicates of internal/placement, the very ones the coordinator and the clients use. What it promises
// when its tests pass:
//
//   - S1 in every state: as long as a host may still act on a grant to drop a file, at least the desired number of other
//     hosts hold the current version and are not about to drop it;
//   - from every state, when faults end, the cluster reaches a state where every file has its replicas, and then rests.
//
// The model is wider than the real thing where that is cheap: hosts copy and ask to drop whenever they can, whether or not
// somebody told them to; holders always count as live. It is narrower in that it bounds how many faults happen and how many
// messages of a host are under way at once.
//
// How messages are told apart follows the protocol. A host's messages carry the life that the coordinator drew for it
// (anew for every process of either side) and a turn that grows with each. Only three things about them matter and are
// kept: whether the life is the present one, whether the turn is later than that of the latest request to drop that the
// coordinator has handled, and whether the sender still waits for the answer.
package model
