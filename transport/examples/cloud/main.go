// Command cloud makes keyword clouds for web pages: articles in, a fragment of
// XHTML out, in which frequent keywords are large.
//
//	cloud serve localhost:5008 '/search?keyword='
//	cloud make localhost:5008 'Title: go, networks' 'Another: go'
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"clusterbackup/transport"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	switch {
	case len(args) == 3 && args[0] == "serve":
		return listen(ctx, args[1], args[2], out)
	case len(args) >= 2 && args[0] == "make":
		return ask(ctx, args[1], args[2:], out)
	}
	return fmt.Errorf("usage: cloud serve ADDRESS SEARCH | cloud make ADDRESS 'TITLE: KEYWORD, KEYWORD'")
}

// listen serves until ctx ends.
func listen(ctx context.Context, addr, search string, out io.Writer) error {
	server, err := transport.Listen(addr, transport.Insecure())
	if err != nil {
		return err
	}
	serve(server, search)
	fmt.Fprintln(out, "listening on", server.Addr())
	<-ctx.Done()
	return server.Close()
}

// serve has server make clouds whose links begin with search. Articles arrive as a
// stream, so that there may be more than fit in one message.
func serve(server *transport.Server, search string) {
	server.HandleFunc("cloud", func(d *transport.Datagram) {
		var articles []Article
		for a, err := range transport.Each[Article](d) {
			if err != nil {
				d.Fail(err)
				return
			}
			articles = append(articles, a)
		}
		d.Set(Fragment(articles, search))
	})
}

// ask sends articles and prints their cloud.
func ask(ctx context.Context, addr string, args []string, out io.Writer) error {
	articles := make([]Article, len(args))
	for i, a := range args {
		title, keywords, ok := strings.Cut(a, ":")
		if !ok {
			return fmt.Errorf("read article %d: %q has no colon between its title and its keywords", i+1, a)
		}
		articles[i] = Article{Title: title, Keywords: keywords, Viewable: true}
	}
	client := transport.Dial(addr)
	defer client.Close()
	fragment, err := transport.Call[string](ctx, client, "cloud", articles)
	if err == nil {
		fmt.Fprint(out, fragment)
	}
	return err
}
