package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/config"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/store"
)

// TestServeEndsWithItsPostgreSQL: a daemon whose own PostgreSQL is killed says so and ends, and the next one goes on.
func TestServeEndsWithItsPostgreSQL(t *testing.T) {
	pgtest.URL(t)                                   // skips where there is no PostgreSQL
	dir, err := os.MkdirTemp("/tmp", "serve-test-") //nolint:usetesting // PostgreSQL's user may not enter the test's own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.DataDir, cfg.SpoolDir, cfg.Admin.Listen = dir, t.TempDir(), ""
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	var killed time.Time
	err = serve(ctx, cfg, process{
		log: slog.New(slog.DiscardHandler), audit: slog.New(slog.DiscardHandler),
		ready: func(context.Context, *store.DB) {
			pid := postmaster(t, filepath.Join(dir, "postgresql"))
			killed = time.Now()
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		},
	})
	class, code, text, hint := fault.Describe(err)
	if class != fault.Transient || code != "postgres_died" || !strings.Contains(text, "ready to accept connections") || hint == "" {
		t.Errorf("got %s %s %q, hint %q; want transient postgres_died with its last lines and a hint", class, code, text, hint)
	}
	if took := time.Since(killed); killed.IsZero() || took > 20*time.Second {
		t.Errorf("it took %s to end, want less than the time for polls to drain", took)
	}

	again, stop := context.WithCancel(ctx)
	err = serve(again, cfg, process{
		log: slog.New(slog.DiscardHandler), audit: slog.New(slog.DiscardHandler),
		ready: func(context.Context, *store.DB) { stop() },
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("the next daemon: %v", err)
	}
}
