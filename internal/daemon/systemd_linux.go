package daemon

import (
	"context"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// What the service manager is told.
const (
	ready    = systemd.SdNotifyReady
	stopping = systemd.SdNotifyStopping
)

// tellManager tells systemd how this process stands; where there is none, nobody.
func tellManager(state string) { systemd.SdNotify(false, state) }

// watchdog tells systemd, twice within its interval, that this process still gets to run.
func watchdog(ctx context.Context) error {
	interval, err := systemd.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return nil
	}
	every := time.NewTicker(interval / 2)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
			tellManager(systemd.SdNotifyWatchdog)
		}
	}
}
