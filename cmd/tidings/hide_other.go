//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd

package main

import (
	"errors"
	"os"
)

// hideInput would make the terminal show nothing of what is typed.
func hideInput(*os.File) (show func(), err error) {
	return nil, errors.New("input cannot be hidden on this system")
}
