package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// redrawEvery keeps a fast operation from spending its time on the screen.
const redrawEvery = 100 * time.Millisecond

// progress draws one line that is overwritten, on a terminal only: elsewhere it draws nothing.
type progress struct {
	w     io.Writer
	now   func() time.Time
	start time.Time
	last  time.Time
	drawn int // columns of the line that is there
	on    bool
}

func newProgress(w io.Writer, now func() time.Time) *progress {
	file, ok := w.(*os.File)
	return &progress{w: w, now: now, start: now(), on: ok && term.IsTerminal(int(file.Fd()))}
}

// show tells how far something is; totals are 0 where they are not known.
func (p *progress) show(verb string, files, totalFiles, bytes, totalBytes int64) {
	now := p.now()
	if !p.on || now.Sub(p.last) < redrawEvery {
		return
	}
	p.last = now
	line := progressLine(verb, files, totalFiles, bytes, totalBytes, now.Sub(p.start))
	fmt.Fprintf(p.w, "\r%s%s", line, strings.Repeat(" ", max(0, p.drawn-len(line))))
	p.drawn = len(line)
}

func progressLine(verb string, files, totalFiles, bytes, totalBytes int64, took time.Duration) string {
	line := fmt.Sprintf("%s %d", verb, files)
	if totalFiles > 0 {
		line += fmt.Sprintf("/%d", totalFiles)
	}
	line += " files, " + size(bytes)
	if totalBytes > 0 {
		line += fmt.Sprintf("/%s (%d%%)", size(totalBytes), bytes*100/totalBytes)
	}
	if took < time.Second {
		return line
	}
	rate := float64(bytes) / took.Seconds()
	line += fmt.Sprintf(", %s/s", size(int64(rate)))
	if rest := totalBytes - bytes; rest > 0 && rate > 0 {
		line += fmt.Sprintf(", %v left", time.Duration(float64(rest)/rate*float64(time.Second)).Round(time.Second))
	}
	return line
}

// clear takes the line away, so that something else can be printed.
func (p *progress) clear() {
	if p.drawn > 0 {
		fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", p.drawn))
		p.drawn = 0
	}
}
