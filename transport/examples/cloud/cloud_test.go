package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"clusterbackup/transport"
)

// link is one keyword of a fragment that was read by an XML parser.
type link struct{ class, href, text string }

func parse(fragment string) (links []link, err error) {
	d := xml.NewDecoder(strings.NewReader("<div>" + fragment + "</div>"))
	d.Strict = true
	var l link
	for {
		tok, err := d.Token()
		if err == io.EOF {
			return links, nil
		}
		if err != nil {
			return nil, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if tok.Name.Local == "li" {
				l = link{class: tok.Attr[0].Value}
			}
			if tok.Name.Local == "a" {
				l.href = tok.Attr[0].Value
			}
		case xml.CharData:
			l.text += string(tok)
		case xml.EndElement:
			if tok.Name.Local == "li" {
				links = append(links, l)
			}
		}
	}
}

func viewable(keywords ...string) (articles []Article) {
	for _, k := range keywords {
		articles = append(articles, Article{Keywords: k, Viewable: true})
	}
	return articles
}

func TestSizesFollowFrequency(t *testing.T) {
	articles := viewable("go, tls, Backup", "go,tls", " GO ,rsync, go", "go,tls", "go")
	articles = append(articles, Article{Keywords: "secret, rsync, rsync", Viewable: false})
	got := Fragment(articles, "/search?keyword=")
	want := `<ul class="cloud">
<li class="size1"><a href="/search?keyword=Backup">Backup</a></li>
<li class="size5"><a href="/search?keyword=go">go</a></li>
<li class="size1"><a href="/search?keyword=rsync">rsync</a></li>
<li class="size3"><a href="/search?keyword=tls">tls</a></li>
</ul>
`
	if got != want {
		t.Fatal(got)
	}
}

func TestSizes(t *testing.T) {
	for _, c := range []struct{ n, least, most, want int }{
		{1, 1, 1, 3}, {1, 1, 2, 1}, {2, 1, 2, 5}, {1, 1, 5, 1}, {2, 1, 5, 2}, {3, 1, 5, 3}, {4, 1, 5, 4}, {5, 1, 5, 5}, {50, 1, 100, 3}, {1000, 999, 1000, 5},
	} {
		if got := size(c.n, c.least, c.most); got != c.want {
			t.Errorf("%d between %d and %d: %d, not %d", c.n, c.least, c.most, got, c.want)
		}
	}
}

func TestNoKeywords(t *testing.T) {
	for _, articles := range [][]Article{nil, viewable("", " , ,,"), {{Keywords: "a"}}} {
		if got := Fragment(articles, "/"); got != "<p class=\"cloud\">No keywords yet.</p>\n" {
			t.Error(got)
		}
	}
}

func TestEverythingIsEscaped(t *testing.T) {
	got := Fragment(viewable(`<b>"x" & 'y'</b>`, "a\x00b\x1f\xff", "c#/?&=+ d"), `/s?a=1&k=`)
	links, err := parse(got)
	if err != nil {
		t.Fatal(err, got)
	}
	if len(links) != 3 || links[0].text != `<b>"x" & 'y'</b>` || links[1].text != "ab\ufffd" || links[2].text != "c#/?&=+ d" {
		t.Fatalf("%q", links)
	}
	for _, l := range links {
		u, err := url.Parse(l.href)
		if err != nil || u.Query().Get("k") != l.text || u.Query().Get("a") != "1" {
			t.Errorf("%q does not search for %q", l.href, l.text)
		}
	}
}

func TestAnyKeywordsMakeValidXML(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune("<>&\"',; \x00\x01\u00a0\ufffe")))))
		raw := rapid.SliceOf(rapid.Byte()).Draw(t, "raw")
		fragment := Fragment(viewable(append(words.Draw(t, "keywords"), string(raw))...), "/?q=")
		links, err := parse(fragment)
		if err != nil {
			t.Fatalf("%v: %q", err, fragment)
		}
		for _, l := range links {
			if l.class < "size1" || l.class > "size5" || l.text == "" {
				t.Fatalf("%q", l)
			}
		}
	})
}

func TestService(t *testing.T) {
	server, err := transport.Listen("localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	serve(server, "/search?keyword=")
	var out strings.Builder
	if err := run(t.Context(), []string{"make", server.Addr().String(), "One: go, tls", "Two: go"}, &out); err != nil {
		t.Fatal(err)
	}
	if links, err := parse(out.String()); err != nil || fmt.Sprint(links) != "[{size5 /search?keyword=go go} {size1 /search?keyword=tls tls}]" {
		t.Fatal(links, err)
	}
	client := transport.Dial(server.Addr().String())
	defer client.Close()
	many := func(yield func(Article) bool) {
		for i := range 50_000 {
			if !yield(Article{Title: strings.Repeat("t", 2000), Keywords: fmt.Sprint("k", i%7), Viewable: true}) {
				return
			}
		}
	}
	d := client.DatagramTo("cloud", many) // 100 MB of articles
	if !d.Send() || strings.Count(d.Value().(string), "<li") != 7 {
		t.Fatal(d.Value(), d.Err())
	}
	if _, err := transport.Call[string](t.Context(), client, "cloud", "no articles"); !errors.Is(err, transport.Decode) {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"make", server.Addr().String(), "no colon"}, &out); err == nil || !strings.Contains(err.Error(), "no colon") {
		t.Fatal(err)
	}
}
