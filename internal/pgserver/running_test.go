package pgserver_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/pgserver"
)

func TestRunningFindsAServerWithoutItsLock(t *testing.T) {
	needPostgres(t)
	ctx, dir := bounded(t), folder(t)
	if url, ok := pgserver.Running(dir); ok {
		t.Errorf("in an empty folder: got %q, want nothing", url)
	}
	s, err := pgserver.Start(ctx, pgserver.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	url, ok := pgserver.Running(dir)
	if !ok || url != s.URL() {
		t.Errorf("while it runs: got %q, %v; want %q", url, ok, s.URL())
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Errorf("connect to what was found: %v", err)
	} else if err := conn.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := s.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if url, ok := pgserver.Running(dir); ok {
		t.Errorf("after it was stopped: got %q, want nothing", url)
	}
}

// A command attaches to a server that runs; one that comes while another starts or stops waits, and gets one either way.
func TestUse(t *testing.T) {
	needPostgres(t)
	ctx, dir := bounded(t), folder(t)
	kept, err := cache()
	if err != nil {
		t.Fatal(err)
	}
	opts := pgserver.Options{Dir: dir, Cache: kept, Wait: pgserver.DefaultWait}
	const commands = 4
	type outcome struct {
		url  string
		stop func(context.Context) error
		err  error
	}
	outcomes := make(chan outcome, commands)
	for range commands {
		go func() {
			url, stop, err := pgserver.Use(ctx, opts)
			outcomes <- outcome{url, stop, err}
		}()
	}
	var stops []func(context.Context) error
	for range commands {
		o := <-outcomes
		if o.err != nil {
			t.Errorf("Use: %v", o.err)
			continue
		}
		if got := ask(t, o.url, "SELECT 'ok'"); got != "ok" {
			t.Errorf("got %q", got)
		}
		stops = append(stops, o.stop)
	}
	for _, stop := range stops {
		if err := stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	if url, ok := pgserver.Running(dir); ok {
		t.Errorf("after all were stopped: got %q, want nothing", url)
	}
}
