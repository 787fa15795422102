package store

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/fault"
)

// The channels of hints. A notification has no content: whoever misses one finds the rows a little later.
const (
	ChannelPollNow        = "poll_now"        // a mailbox was made due by hand
	ChannelMailboxChanged = "mailbox_changed" // a mailbox or profile was changed
)

// listenRetry is how long Listen waits before it connects again.
const listenRetry = 5 * time.Second

// Listen calls hint with the channel's name for every notification on these channels, and with "" after each new
// connection, since some may have been missed before it. It runs until ctx ends, on a connection of its own; an outage
// of the database is waited out.
func (db *DB) Listen(ctx context.Context, log *slog.Logger, hint func(channel string), channels ...string) {
	failing := false
	for ctx.Err() == nil {
		err := db.listenOnce(ctx, hint, channels)
		if ctx.Err() != nil {
			return
		}
		if !failing {
			class, code, text, _ := fault.Describe(err)
			log.WarnContext(ctx, "hints from the database are not heard: changes are found by looking instead",
				"err_class", class, "err_code", code, "error", text)
		}
		failing = true
		select {
		case <-ctx.Done():
		case <-time.After(listenRetry):
		}
	}
}

func (db *DB) listenOnce(ctx context.Context, hint func(channel string), channels []string) error {
	acquireCtx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	pooled, err := db.pool.Acquire(acquireCtx)
	if err != nil {
		return Classify(fmt.Errorf("listen for hints: %w", err))
	}
	conn := pooled.Hijack() // it listens for as long as it lives: the pool gets another
	defer func() {
		closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		defer cancel()
		_ = conn.Close(closeCtx) // nothing is pending on it
	}()
	for _, channel := range channels {
		if _, err := conn.Exec(acquireCtx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
			return Classify(fmt.Errorf("listen for hints: %w", err))
		}
	}
	hint("")
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return Classify(fmt.Errorf("listen for hints: %w", err))
		}
		hint(n.Channel)
	}
}
