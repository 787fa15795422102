package main

import (
	"context"
	"log/slog"
	"os"
	ossignal "os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/postroom/postroom/internal/cli"
	"github.com/postroom/postroom/internal/config"
	"github.com/postroom/postroom/internal/demo"
	"github.com/postroom/postroom/internal/pgserver"
)

// demoCommand runs the daemon on sample servers and mail.
func demoCommand(env []string) func(context.Context, cli.DemoOptions, cli.Streams) error {
	return func(ctx context.Context, o cli.DemoOptions, s cli.Streams) error {
		// A pipe that nobody reads is to end the demo, not the process with all that is to be taken down. To be told of
		// the signal, other than ignoring it, is not inherited by children.
		pipe := make(chan os.Signal, 1)
		ossignal.Notify(pipe, syscall.SIGPIPE)
		defer ossignal.Stop(pipe)
		return demo.Run(ctx, demo.Options{
			Dir: o.Dir, Once: o.Once, JSON: o.JSON, Program: calledAs(os.Args[0], env), Out: s.Out, Err: s.Err,
			Serve: func(ctx context.Context, cfg *config.Config, log, audit *slog.Logger) error {
				return serve(ctx, cfg, process{log: log, audit: audit})
			},
		})
	}
}

// calledAs returns how a shell in any folder calls this program so that the settings of a file hold, which the
// environment's would overrule.
func calledAs(program string, env []string) string {
	if strings.ContainsRune(program, filepath.Separator) {
		if abs, err := filepath.Abs(program); err == nil {
			program = abs
		}
	}
	words := []string{demo.ShellWord(program)}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		if value != "" && strings.HasPrefix(name, "POSTROOM_") && name != pgserver.EnvBin {
			words = slices.Insert(words, len(words)-1, "-u", name)
		}
	}
	if len(words) > 1 {
		words = slices.Insert(words, 0, "env")
	}
	return strings.Join(words, " ")
}
