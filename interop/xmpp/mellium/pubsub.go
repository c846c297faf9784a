package main

import (
	"context"
	"errors"
)

func (c *client) pubsub(ctx context.Context, target string, count int) error { return errors.New("x") }
