package wire

import "fmt"

// Bounds of a Failure's strings.
const (
	MaxCode    = 64
	MaxMessage = 4 << 10
)

// AppendFailure appends the payload of a Failure frame, cut to its bounds: code
// and message as counted strings.
func AppendFailure(b []byte, code, msg string) []byte {
	b = appendString(b, code[:min(len(code), MaxCode)])
	return appendString(b, msg[:min(len(msg), MaxMessage)])
}

// ParseFailure reads the payload of a Failure frame.
func ParseFailure(p []byte) (code, msg string, err error) {
	r := reader{rest: p}
	code, msg = r.string(MaxCode), r.string(MaxMessage)
	if r.bad || code == "" {
		return "", "", fmt.Errorf("malformed failure: %w", ErrProtocol)
	}
	return code, msg, nil
}
