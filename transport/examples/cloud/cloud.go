package main

import (
	"fmt"
	"html"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Article is what keywords are taken from.
type Article struct {
	Title    string
	Keywords string // separated by commas
	Viewable bool   // others don't count
}

// sizes is how many sizes the keywords of a cloud come in.
const sizes = 5

// Fragment is the cloud of the viewable articles' keywords, as a fragment of XHTML:
// a list with class "cloud" whose items have the classes "size1" (rarest) to
// "size5" (most frequent). Each keyword links to its search page, whose address is
// search and then the keyword.
func Fragment(articles []Article, search string) string {
	counts := count(articles)
	if len(counts) == 0 {
		return `<p class="cloud">No keywords yet.</p>` + "\n" // a list may not be empty
	}
	var b strings.Builder
	b.WriteString("<ul class=\"cloud\">\n")
	least, most := extremes(counts)
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		k := counts[key]
		fmt.Fprintf(&b, "<li class=\"size%d\"><a href=\"%s\">%s</a></li>\n",
			size(k.articles, least, most), html.EscapeString(search+url.QueryEscape(k.text)), html.EscapeString(k.text))
	}
	b.WriteString("</ul>\n")
	return b.String()
}

// keyword is a keyword as it was first written, and how many articles have it.
type keyword struct {
	text     string
	articles int
}

// count counts the articles of each keyword. Case and spacing make no difference,
// and twice in one article is once.
func count(articles []Article) map[string]keyword {
	counts := map[string]keyword{}
	for _, a := range articles {
		if !a.Viewable {
			continue
		}
		seen := map[string]bool{}
		for text := range strings.SplitSeq(a.Keywords, ",") {
			text = tidy(text)
			key := strings.ToLower(text)
			if key == "" || seen[key] {
				continue
			}
			seen[key] = true
			k := counts[key]
			if k.articles++; k.text == "" {
				k.text = text
			}
			counts[key] = k
		}
	}
	return counts
}

// tidy makes spacing single, and leaves out what XML does not allow.
func tidy(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			return ' '
		case r < ' ' || r == 0x7f || r == 0xfffe || r == 0xffff:
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
	return strings.Join(strings.Fields(text), " ")
}

func extremes(counts map[string]keyword) (least, most int) {
	for _, k := range counts {
		if least == 0 || k.articles < least {
			least = k.articles
		}
		most = max(most, k.articles)
	}
	return least, most
}

// size is where n lies between least and most, from 1 to sizes; in the middle
// where all are equal.
func size(n, least, most int) int {
	if least == most {
		return (sizes + 1) / 2
	}
	return 1 + ((n-least)*(sizes-1)*2+(most-least))/((most-least)*2)
}
