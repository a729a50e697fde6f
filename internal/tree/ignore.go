package tree

import (
	"strings"
	"unsafe"
)

// rule is one line of a .gitignore file (gitignore(5)).
type rule struct {
	parts      []string // the pattern between its slashes
	include    bool     // "!…"
	folderOnly bool     // "…/"
	anywhere   bool     // no slash but at its end: fits a name in any folder
}

// rules decide, the last that fits first. The caller asks for each folder on the way first and doesn't enter an excluded
// one: so, as with git, nothing in it can be included again.
type rules []rule

func parseRules(lines []string) rules {
	var rs rules
	for _, line := range lines {
		for text := range strings.SplitSeq(line, "\n") {
			if r, ok := parseRule(text); ok {
				rs = append(rs, r)
			}
		}
	}
	return rs
}

func parseRule(text string) (r rule, ok bool) {
	text = trimSpaces(strings.TrimSuffix(text, "\r"))
	if text == "" || text[0] == '#' {
		return r, false
	}
	text, r.include = strings.CutPrefix(text, "!")
	text, r.folderOnly = strings.CutSuffix(text, "/")
	r.anywhere = !strings.Contains(text, "/")
	text = strings.TrimPrefix(text, "/")
	if text == "" {
		return r, false
	}
	r.parts = strings.Split(text, "/")
	for i, part := range r.parts {
		if len(part) > 2 && strings.Trim(part, "*") == "" {
			r.parts[i] = "**"
		}
	}
	return r, true
}

// trimSpaces takes trailing spaces away, but for one that a backslash protects.
func trimSpaces(s string) string {
	trimmed := strings.TrimRight(s, " ")
	slashes := len(trimmed) - len(strings.TrimRight(trimmed, `\`))
	if slashes%2 == 1 && len(trimmed) < len(s) {
		trimmed += " "
	}
	return trimmed
}

func (rs rules) excludesBytes(path []byte, folder bool) bool {
	return rs.excludes(unsafe.String(unsafe.SliceData(path), len(path)), folder)
}

// excludes tells about path alone, not about the folders it lies in.
func (rs rules) excludes(path string, folder bool) bool {
	for i := len(rs) - 1; i >= 0; i-- {
		if r := &rs[i]; (folder || !r.folderOnly) && r.fits(path) {
			return !r.include
		}
	}
	return false
}

func (r *rule) fits(path string) bool {
	if r.anywhere {
		return globFits(r.parts[0], path[strings.LastIndexByte(path, '/')+1:])
	}
	return partsFit(r.parts, path)
}

// partsFit matches component by component; "**" stands for any number of them, at the end for at least one. Where it could
// stand for several numbers, the least is tried first and only the latest "**" is ever widened, which is enough.
func partsFit(parts []string, path string) bool {
	var backParts []string
	var backPath string
	for {
		switch {
		case len(parts) > 0 && parts[0] == "**":
			if len(parts) == 1 {
				return path != ""
			}
			parts = parts[1:]
			backParts, backPath = parts, path
			continue
		case len(parts) == 0 && path == "":
			return true
		case len(parts) > 0 && path != "":
			name, rest, _ := strings.Cut(path, "/")
			if globFits(parts[0], name) {
				parts, path = parts[1:], rest
				continue
			}
		}
		if backPath == "" {
			return false
		}
		_, backPath, _ = strings.Cut(backPath, "/")
		parts, path = backParts, backPath
	}
}

// globFits matches one component, byte by byte: "*", "?", "[…]" and "\" as in glob(7).
func globFits(pattern, name string) bool {
	var backPattern, backName string
	star := false
	for {
		if pattern != "" && pattern[0] == '*' {
			pattern = strings.TrimLeft(pattern, "*")
			backPattern, backName, star = pattern, name, true
			continue
		}
		if pattern == "" && name == "" {
			return true
		}
		if pattern != "" && name != "" {
			if rest, ok := byteFits(pattern, name[0]); ok {
				pattern, name = rest, name[1:]
				continue
			}
		}
		if !star || backName == "" {
			return false
		}
		backName = backName[1:]
		pattern, name = backPattern, backName
	}
}

// byteFits matches the pattern's first element against c and returns the rest of the pattern.
func byteFits(pattern string, c byte) (rest string, ok bool) {
	switch pattern[0] {
	case '?':
		return pattern[1:], true
	case '[':
		return classFits(pattern[1:], c)
	case '\\':
		if len(pattern) < 2 {
			return "", false
		}
		pattern = pattern[1:]
	}
	return pattern[1:], pattern[0] == c
}
