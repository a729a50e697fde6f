package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	v1 "clusterbackup/api/v1"
)

var (
	fenced = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")
	inline = regexp.MustCompile("`(cbctl [^`\n]+)`")
	links  = regexp.MustCompile(`\]\(([^)#\s]*)(#[^)\s]*)?\)`)
)

// manual returns the pages of the documentation by name.
func manual(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	for _, pattern := range []string{"../../docs/*.md", "../../README.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			pages[name] = string(data)
		}
	}
	if len(pages) < 10 {
		t.Fatalf("only %d pages of documentation", len(pages))
	}
	return pages
}

// TestManualCommands: every cbctl command line in the documentation is one that cbctl understands.
func TestManualCommands(t *testing.T) {
	checked := 0
	for name, text := range manual(t) {
		var commands []string
		for _, block := range fenced.FindAllStringSubmatch(text, -1) {
			if block[1] == "sh" {
				commands = append(commands, strings.Split(block[2], "\n")...)
			}
		}
		for _, span := range inline.FindAllStringSubmatch(text, -1) {
			if !strings.ContainsAny(span[1], "|[…") {
				commands = append(commands, span[1])
			}
		}
		for _, line := range commands {
			line, _, _ = strings.Cut(line, " #")
			words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "sudo "))
			if len(words) < 2 || words[0] != "cbctl" {
				continue
			}
			checked++
			if err := understands(words[1:]); err != nil {
				t.Errorf("%s: %s: %v", name, line, err)
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d command lines were found", checked)
	}
}

// understands finds the command and parses its flags, and runs nothing.
func understands(args []string) error {
	p := &Program{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}
	p.prepare()
	root := p.root()
	root.InitDefaultCompletionCmd("completion")
	command, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if command == root {
		return usagef("names no command")
	}
	return command.ParseFlags(rest)
}

// TestManualResources: every resource in the documentation can be applied.
func TestManualResources(t *testing.T) {
	kinds := map[string]bool{}
	for name, text := range manual(t) {
		for _, block := range fenced.FindAllStringSubmatch(text, -1) {
			if block[1] != "yaml" {
				continue
			}
			docs, err := v1.Decode([]byte(block[2]), name)
			if err != nil {
				t.Error(err)
			}
			for _, d := range docs {
				kinds[v1.KindOf(d.Object)] = true
			}
		}
	}
	if len(kinds) < 4 {
		t.Errorf("only these kinds are shown: %v", kinds)
	}
}

// TestManualLinks: every link within the repository, and every page that an alert names, is there.
func TestManualLinks(t *testing.T) {
	pages := manual(t)
	for name, text := range pages {
		for _, link := range links.FindAllStringSubmatch(text, -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			checkLink(t, pages, name, link[1], link[2])
		}
	}
	rules, err := os.ReadFile("../../config/prometheus/clusterbackup.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	runbooks := regexp.MustCompile(`runbook: (docs/[a-z-]+\.md)(#\S+)`).FindAllStringSubmatch(string(rules), -1)
	if alerts := strings.Count(string(rules), "- alert:"); len(runbooks) != alerts {
		t.Errorf("%d alerts have %d runbooks", alerts, len(runbooks))
	}
	for _, r := range runbooks {
		checkLink(t, pages, "../../clusterbackup.rules.yml", r[1], r[2])
	}
}

func checkLink(t *testing.T, pages map[string]string, from, path, anchor string) {
	t.Helper()
	target := from
	if path != "" {
		target = filepath.Join(filepath.Dir(from), path)
		if _, err := os.Stat(target); err != nil {
			t.Errorf("%s links to %s, which is not there", from, path)
			return
		}
	}
	if anchor == "" {
		return
	}
	for line := range strings.SplitSeq(pages[target], "\n") {
		if strings.HasPrefix(line, "#") && "#"+slug(strings.TrimLeft(line, "# ")) == anchor {
			return
		}
	}
	t.Errorf("%s links to %s%s: no such heading", from, path, anchor)
}

// slug is a heading's anchor as code forges make it.
func slug(heading string) string {
	keep := func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		}
		return -1
	}
	return strings.Map(keep, strings.ToLower(heading))
}
