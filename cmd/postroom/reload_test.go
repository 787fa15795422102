package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/postroom/postroom/internal/config"
)

func TestReloadTakesOverTheLogLevelAlone(t *testing.T) {
	var b bytes.Buffer
	level := new(slog.LevelVar)
	running := config.Default()
	log := newLogger(running.Log, level, &b)
	changed := config.Default()
	changed.Log.Level, changed.Scheduler.Workers = "debug", 3
	reloadConfig(t.Context(), running, func() (*config.Config, []string, error) { return changed, []string{"w1"}, nil }, level, log)
	if level.Level() != slog.LevelDebug {
		t.Errorf("level is %s, want debug", level.Level())
	}
	for _, want := range []string{"warning=w1", "next restart", "key=scheduler.workers value=3", "key=log.level value=debug"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, b.String())
		}
	}
}

func TestReloadOfAFaultyConfigurationChangesNothing(t *testing.T) {
	var b bytes.Buffer
	level := new(slog.LevelVar)
	running := config.Default()
	log := newLogger(running.Log, level, &b)
	reloadConfig(t.Context(), running, func() (*config.Config, []string, error) { return nil, nil, errors.New("log.level is not valid") }, level, log)
	if level.Level() != slog.LevelInfo || !strings.Contains(b.String(), "log.level is not valid") {
		t.Errorf("level %s, log:\n%s", level.Level(), b.String())
	}
}
