//go:build !unix

package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// lockDir takes the lock of a data directory: a file that a second process cannot remove while the first has it open,
// as is so on Windows.
func lockDir(dir string) (unlock func() error, err error) {
	name := filepath.Join(dir, "lock")
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errLocked(dir)
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		if errors.Is(err, os.ErrExist) {
			return nil, errLocked(dir)
		}
		return nil, fmt.Errorf("journal: opening the lock: %w", err)
	}
	return f.Close, nil
}
