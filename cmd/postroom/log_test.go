package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/postroom/postroom/internal/config"
)

func TestLogFormats(t *testing.T) {
	for format, want := range map[config.LogFormat]string{
		config.Text:    `level=WARN msg="poll failed" mailbox_id=7 err_class=auth`,
		config.JSON:    `"level":"WARN","msg":"poll failed","mailbox_id":7,"err_class":"auth"`,
		config.Journal: "<4>msg=\"poll failed\" mailbox_id=7 err_class=auth\n",
	} {
		var b bytes.Buffer
		log := newLogger(config.Log{Level: "warn", Format: format}, new(slog.LevelVar), &b).With("mailbox_id", 7)
		log.Info("not shown")
		log.Warn("poll failed", "err_class", "auth")
		if got := b.String(); !strings.Contains(got, want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: got %q, want one line with %q", format, got, want)
		}
		if format == config.JSON && !json.Valid(b.Bytes()) {
			t.Errorf("got %q, want JSON", b.String())
		}
	}
}

func TestLogLevels(t *testing.T) {
	for level, want := range map[string]string{"debug": "<7><6><4><3>", "info": "<6><4><3>", "warn": "<4><3>", "error": "<3>"} {
		var b bytes.Buffer
		log := newLogger(config.Log{Level: level, Format: config.Journal}, new(slog.LevelVar), &b)
		log.Debug("x")
		log.Info("x")
		log.Warn("x")
		log.Error("x")
		if got := strings.ReplaceAll(b.String(), "msg=x\n", ""); got != want {
			t.Errorf("%s: got priorities %q, want %q", level, got, want)
		}
	}
}

// Values of a peer's choosing stay on the line, and lines of several goroutines stay apart.
func TestJournalLinesStayWhole(t *testing.T) {
	var b bytes.Buffer
	log := newLogger(config.Log{Level: "info", Format: config.Journal}, new(slog.LevelVar), &b)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			child := log.With("host", "x").WithGroup("g")
			for range 100 {
				child.Info("said", "text", "a\n<3>forged")
			}
		})
	}
	wg.Wait()
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != 800 {
		t.Errorf("got %d lines, want 800", len(lines))
	}
	for _, line := range lines {
		if line != `<6>msg=said host=x g.text="a\n<3>forged"` {
			t.Fatalf("got line %q", line)
		}
	}
}
