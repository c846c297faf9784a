//go:build !unix

package journal_test

import "time"

func limitFiles() {}

func cpuTime() time.Duration { return 0 }
