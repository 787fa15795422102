// Command postroom reads mailboxes and turns mail into records. Package internal/cli has its commands.
package main

import (
	"context"
	"os"
	ossignal "os/signal"
	"runtime/debug"
	"syscall"

	"github.com/postroom/postroom/internal/cli"
	"github.com/postroom/postroom/internal/config"
)

// version is set by the linker, else by main from the build's own information.
var version string

func main() {
	ctx, stop := ossignal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], os.Environ(), cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code) //nolint:forbidigo // this is main
}

// run does what args ask for and returns the exit code.
func run(ctx context.Context, args, env []string, s cli.Streams) int {
	if version == "" {
		version = builtVersion()
	}
	return cli.Run(ctx, cli.Deps{Version: version, Serve: serveCommand}, args, env, s)
}

// serveCommand runs the daemon as the configuration says. SIGHUP makes it read its records again.
func serveCommand(ctx context.Context, cfg *config.Config, warnings []string, s cli.Streams) error {
	log := newLogger(cfg.Log, s.Err)
	for _, w := range warnings {
		log.WarnContext(ctx, "configuration", "warning", w)
	}
	for _, v := range cfg.Values() {
		if v.From != config.FromDefault {
			log.InfoContext(ctx, "configuration", "key", v.Key, "value", v.Value, "from", v.From)
		}
	}
	reload, stop := hangups()
	defer stop()
	return serve(ctx, cfg, process{log: log, audit: log.With("log", "audit"), reload: reload})
}

// hangups returns a channel that takes a value for each SIGHUP, until stop.
func hangups() (reload <-chan struct{}, stop func()) {
	signals, out, done := make(chan os.Signal, 1), make(chan struct{}, 1), make(chan struct{})
	ossignal.Notify(signals, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-signals:
				signal(out)
			case <-done:
				return
			}
		}
	}()
	return out, func() { ossignal.Stop(signals); close(done) }
}

// builtVersion returns the version that the module system knows, else "dev".
func builtVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}
