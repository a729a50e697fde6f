package tree

import "strings"

// classFits matches what follows a "[" against c and returns what follows the "]". A class without end fits nothing.
func classFits(class string, c byte) (rest string, ok bool) {
	negated := class != "" && (class[0] == '!' || class[0] == '^')
	if negated {
		class = class[1:]
	}
	for first := true; ; first = false {
		if class == "" {
			return "", false
		}
		if class[0] == ']' && !first {
			return class[1:], ok != negated
		}
		var fits, valid bool
		if fits, class, valid = memberFits(class, c); !valid {
			return "", false
		}
		ok = ok || fits
	}
}

// memberFits matches one member of a class: a byte, a range or a named class.
func memberFits(class string, c byte) (fits bool, rest string, valid bool) {
	if name, after, found := cutNamed(class); found {
		test := named[name]
		return test != nil && test(c), after, test != nil
	}
	low, class, valid := classByte(class)
	if !valid {
		return false, "", false
	}
	if len(class) < 2 || class[0] != '-' || class[1] == ']' {
		return c == low, class, true
	}
	high, class, valid := classByte(class[1:])
	return valid && low <= c && c <= high, class, valid
}

func cutNamed(class string) (name, rest string, found bool) {
	if !strings.HasPrefix(class, "[:") {
		return "", "", false
	}
	return strings.Cut(class[2:], ":]")
}

func classByte(class string) (c byte, rest string, valid bool) {
	if class[0] == '\\' {
		class = class[1:]
	}
	if class == "" {
		return 0, "", false
	}
	return class[0], class[1:], true
}

var named = map[string]func(byte) bool{
	"alnum":  func(c byte) bool { return isAlpha(c) || isDigit(c) },
	"alpha":  isAlpha,
	"blank":  func(c byte) bool { return c == ' ' || c == '\t' },
	"cntrl":  func(c byte) bool { return c < ' ' || c == 0x7f },
	"digit":  isDigit,
	"graph":  func(c byte) bool { return c > ' ' && c < 0x7f },
	"lower":  isLower,
	"print":  func(c byte) bool { return c >= ' ' && c < 0x7f },
	"punct":  func(c byte) bool { return c > ' ' && c < 0x7f && !isAlpha(c) && !isDigit(c) },
	"space":  func(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' },
	"upper":  isUpper,
	"xdigit": func(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' },
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isLower(c byte) bool { return c >= 'a' && c <= 'z' }
func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }
func isAlpha(c byte) bool { return isLower(c) || isUpper(c) }
