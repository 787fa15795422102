package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/postroom/postroom/internal/config"
	"github.com/postroom/postroom/internal/pgserver"
	"github.com/postroom/postroom/internal/store"
)

const (
	commandConns = 4                // connections of one command
	stopTimeout  = 30 * time.Second // of a PostgreSQL that was started for one command
)

func (a *app) serveCommand() *cobra.Command {
	return a.command(spec{
		use: "serve", short: "Poll the mailboxes until stopped",
		long: `Runs the daemon in the foreground. SIGTERM and Ctrl-C stop it: running polls get scheduler.drain to finish. SIGHUP
reads the configuration and the records again. Several daemons may serve one database.`,
		example: "  postroom serve\n  postroom serve --config /etc/postroom/postroom.yaml",
		args:    cobra.NoArgs,
		run: func(ctx context.Context, _ []string) error {
			if a.deps.Serve == nil {
				return errors.New("this build has no daemon")
			}
			return a.deps.Serve(ctx, a.load, a.streams)
		},
	})
}

func (a *app) migrateCommand() *cobra.Command {
	return a.command(spec{
		use: "migrate", short: "Bring the database's schema up to date",
		long: `Makes the schema if it is missing and applies the migrations that it lacks. Several may run at once; a second run
changes nothing.`,
		example: "  postroom migrate",
		args:    cobra.NoArgs,
		run: func(ctx context.Context, _ []string) error {
			return a.withDB(ctx, false, func(ctx context.Context, db *store.DB, _ *config.Config) error {
				applied, err := db.Migrate(ctx)
				if err != nil {
					return err
				}
				if a.isJSON() {
					return a.printJSON(map[string]any{"schema": db.Schema(), "applied": rowsOf(applied)})
				}
				for _, name := range applied {
					if err := a.print("applied " + name + "\n"); err != nil {
						return err
					}
				}
				return a.print(fmt.Sprintf("schema %s is up to date\n", db.Schema()))
			})
		},
	})
}

// withDB calls fn with the configured database, whose schema must be right if checked.
func (a *app) withDB(ctx context.Context, checked bool, fn func(ctx context.Context, db *store.DB, cfg *config.Config) error) (err error) {
	cfg, _, err := a.load()
	if err != nil {
		return err
	}
	url, stop, err := databaseURL(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	db, err := store.Open(ctx, store.Options{
		URL: url, Schema: cfg.Database.Schema, Durability: string(cfg.Database.Durability), MaxConns: commandConns,
		ApplicationName: "postroom command",
	})
	if err != nil {
		return err
	}
	defer db.Close()
	if checked {
		if err := db.CheckSchema(ctx); err != nil {
			return err
		}
	}
	return fn(ctx, db, cfg)
}

// databaseURL returns where the database is: the configured one; else the one that a daemon runs in data_dir now; else
// one that is started there until stop is called.
func databaseURL(ctx context.Context, cfg *config.Config) (url string, stop func() error, err error) {
	nothing := func() error { return nil }
	url, err = cfg.DatabaseURL()
	if err != nil {
		return "", nil, &configurationError{err}
	}
	if url != "" {
		return url, nothing, nil
	}
	url, done, err := pgserver.Use(ctx, pgserver.Options{Dir: cfg.DatabaseDir(), Durable: true, Wait: pgserver.DefaultWait})
	if err != nil {
		return "", nil, err
	}
	return url, func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		return done(ctx)
	}, nil
}
