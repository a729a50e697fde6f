// Package transport sends datagrams: values that go to a server and come back as
// its answer, over long-lived connections that it makes, keeps alive, and makes
// again. A server answers in a loop:
//
//	server, err := transport.Listen("localhost:5005", transport.Insecure())
//	if err != nil {
//		log.Fatal(err)
//	}
//	for d := range server.All() { // leaving the body sends the reply
//		d.Set(strings.ToUpper(d.Value().(string)))
//	}
//
// A client sends, and looks at what came back:
//
//	d := transport.New("localhost:5005", "quiet")
//	if d.Send() {
//		fmt.Println(d.Value()) // QUIET
//	}
//
// Values are what Go has: strings, numbers, bytes, lists, maps, structs, an
// io.Reader, an iter.Seq. As and Each read them as a type; Call and Handle do both
// sides of a typed request by name, CallStream and HandleStream of a stream.
//
// Dial gives a client its options, and is the way to servers on other machines:
// what leaves the machine is TLS, always. One connection carries any number of
// exchanges side by side; large ones do not hold up small ones, a reader that is
// slow holds up nobody but its own stream, and a server never holds more than its
// options allow, whatever its peers do.
//
// A request is executed at most once. When a connection is lost, what certainly
// was not sent is sent again on the next; for the rest the error says, by
// Error.Sent, that it may have been executed. Errors are *Error and have a Code
// for errors.Is, the same on both sides.
package transport
