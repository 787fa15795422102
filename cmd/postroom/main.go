// Command postroom reads mailboxes and turns mail into records. Package internal/cli has its commands.
package main

import (
	"context"
	"log/slog"
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
	return cli.Run(ctx, cli.Deps{Version: version, Serve: serveCommand, Demo: demoCommand(env)}, args, env, s)
}

// serveCommand runs the daemon as the configuration says. SIGHUP makes it read the configuration and the records again.
func serveCommand(ctx context.Context, load cli.LoadConfig, s cli.Streams) error {
	cfg, warnings, err := load()
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	log := newLogger(cfg.Log, level, s.Err)
	for _, w := range warnings {
		log.WarnContext(ctx, "configuration", "warning", w)
	}
	for _, v := range cfg.Values() {
		if v.From != config.FromDefault {
			log.InfoContext(ctx, "configuration", "key", v.Key, "value", v.Value, "from", v.From)
		}
	}
	reload, stop := hangups(func() { reloadConfig(ctx, cfg, load, level, log) })
	defer stop()
	return serve(ctx, cfg, process{log: log, audit: log.With("log", "audit"), reload: reload})
}

// reloadConfig reads the configuration again and takes over log.level. Of other keys that have changed it says that
// they wait for a restart; with a fault in it the one that runs stays.
func reloadConfig(ctx context.Context, running *config.Config, load cli.LoadConfig, level *slog.LevelVar, log *slog.Logger) {
	cfg, warnings, err := load()
	if err != nil {
		log.ErrorContext(ctx, "the configuration has faults: the one that runs stays", "error", err)
		return
	}
	for _, w := range warnings {
		log.WarnContext(ctx, "configuration", "warning", w)
	}
	level.Set(cfg.Log.SlogLevel())
	before := running.Values()
	for i, v := range cfg.Values() {
		switch {
		case v.Value == before[i].Value:
		case v.Key == "log.level":
			log.InfoContext(ctx, "configuration", "key", v.Key, "value", v.Value, "from", v.From)
		default:
			log.WarnContext(ctx, "a changed key is taken over at the next restart", "key", v.Key, "value", v.Value, "from", v.From)
		}
	}
}

// hangups calls first for each SIGHUP and then gives reload a value, until stop.
func hangups(first func()) (reload <-chan struct{}, stop func()) {
	signals, out, done := make(chan os.Signal, 1), make(chan struct{}, 1), make(chan struct{})
	ossignal.Notify(signals, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-signals:
				first()
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
