package journal

import (
	"fmt"
	"log/slog"
	"strings"
)

// serverLog hands what the NATS server logs at warning level and above to slog.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Noticef(string, ...any)        {}
func (l serverLog) Debugf(string, ...any)         {}
func (l serverLog) Tracef(string, ...any)         {}
func (l serverLog) Warnf(f string, a ...any)      { l.log.Warn("nats: " + l.text(f, a)) }
func (l serverLog) Errorf(f string, a ...any)     { l.log.Error("nats: " + l.text(f, a)) }
func (l serverLog) Fatalf(f string, a ...any)     { l.log.Error("nats, fatal: " + l.text(f, a)) }
func (l serverLog) text(f string, a []any) string { return strings.TrimSpace(fmt.Sprintf(f, a...)) }
