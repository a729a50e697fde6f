// Package version tells which build this is.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
)

// Set by the linker; see the Makefile.
var version, commit string

// Info is one build.
type Info struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Go       string `json:"goVersion"`
	Platform string `json:"platform"`
	// ProtocolMin and ProtocolMax are the range of protocol versions spoken between hosts.
	ProtocolMin int `json:"protocolMin"`
	ProtocolMax int `json:"protocolMax"`
}

// Protocol range of this build.
const (
	ProtocolMin = 1
	ProtocolMax = 1
)

// Get returns this build's information.
func Get() Info {
	i := Info{Version: version, Commit: commit, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		ProtocolMin: ProtocolMin, ProtocolMax: ProtocolMax}
	if build, ok := debug.ReadBuildInfo(); ok {
		if i.Version == "" {
			i.Version = build.Main.Version
		}
		for _, s := range build.Settings {
			if s.Key == "vcs.revision" && i.Commit == "" {
				i.Commit = s.Value
			}
		}
	}
	if i.Version == "" {
		i.Version = "unknown"
	}
	if i.Commit == "" {
		i.Commit = "unknown"
	}
	return i
}

// Protocol is the range of protocol versions for people: "1" or "1-2".
func (i Info) Protocol() string {
	if i.ProtocolMin == i.ProtocolMax {
		return strconv.Itoa(i.ProtocolMin)
	}
	return fmt.Sprintf("%d-%d", i.ProtocolMin, i.ProtocolMax)
}
