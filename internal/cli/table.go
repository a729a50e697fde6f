package cli

import (
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/duration"
)

// table prints aligned columns, three spaces apart, as kubectl does. Rows are held until flush; widths are remembered from flush to
// flush, so that a long listing can be printed a page at a time.
type table struct {
	w      io.Writer
	widths []int
	rows   [][]string
}

func newTable(w io.Writer, header ...string) *table {
	t := &table{w: w, widths: make([]int, len(header))}
	t.row(header...)
	return t
}

// headless is a table without a header.
func headless(w io.Writer, columns int) *table { return &table{w: w, widths: make([]int, columns)} }

// row adds a line. Empty cells show as "<none>"; what could disturb a terminal is quoted.
func (t *table) row(cells ...string) {
	clean := make([]string, len(cells))
	for i, cell := range cells {
		clean[i] = printable(cell)
		if clean[i] == "" {
			clean[i] = "<none>"
		}
		t.widths[i] = max(t.widths[i], utf8.RuneCountInString(clean[i]))
	}
	t.rows = append(t.rows, clean)
}

// flush prints the rows so far.
func (t *table) flush() error {
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(cell)+3))
			}
		}
		line.WriteByte('\n')
		if _, err := io.WriteString(t.w, line.String()); err != nil {
			return err
		}
	}
	t.rows = nil
	return nil
}

// printable is text as it is, or quoted as in Go where it has control characters or is not UTF-8.
func printable(text string) string {
	if utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return text
	}
	return strconv.Quote(text)
}

// unknown is what nobody could tell.
const unknown = "<unknown>"

// age is the time from then to now, as short as kubectl writes it.
func age(now, then time.Time) string {
	if then.IsZero() {
		return unknown
	}
	return duration.HumanDuration(now.Sub(then))
}
