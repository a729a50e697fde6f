// Package placement decides where replicas go and which may go away. It is all pure functions over what the caller
// has gathered: no I/O, no goroutines, no clock of its own; the same input gives the same answer.
//
// A coordinator describes its hosts ([Host]: how much room there is, in which failure domain), its files as classes
// ([Class]: how many files and bytes share one set of holders) and, where whole files matter, the few largest one by
// one ([File]). From these it gets
//
//   - a [Plan]: which large files go where ([Plan.Rocks]), how many bytes of which class each host may take so that the
//     rest still finds its place ([Plan.Take]), in which order (critical first, then rarest: [Plan.Order]), and how much
//     room is missing where ([Plan.Wanted]);
//   - moves ([Displace], [Relieve]): the smallest set of replicas to copy elsewhere first, when there is room in total
//     but not where it is needed, or when a host wants to be rid of bytes;
//   - [ShouldDrop]: which holder of a file with too many replicas lets go;
//   - [MayDrop], [MayCount], [MayDelete]: the safety rules of drops, each one predicate over facts;
//   - [Feasible]: whether the desired replicas fit at all, and what to do when not.
//
// Hosts are named by their index in the slice that was handed in; bytes are int64.
package placement
