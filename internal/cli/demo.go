package cli

import (
	"context"

	"github.com/spf13/cobra"
)

// DemoOptions are what the demo is asked for.
type DemoOptions struct {
	Dir  string // is kept; "": a temporary folder
	Once bool   // end by itself
	JSON bool   // write the account as one object to Streams.Out, everything else to Streams.Err
}

func (a *app) demoCommand() *cobra.Command {
	var o DemoOptions
	c := a.command(spec{
		use: "demo", short: "Run the daemon on sample servers and mail, with a database of its own",
		long: `Starts a PostgreSQL and mail servers with sample mail on this machine, polls them, tells what becomes of each message,
and stays up for a look around until Ctrl-C. Nothing is left behind but with --dir. Other databases are not touched.
With --once it ends by itself: exit code 0 only if every message is accounted for as it should be.`,
		example: "  postroom demo\n  postroom demo --once --output json | jq '.recorded'\n  postroom demo --dir ./demo",
		args:    cobra.NoArgs,
		run: func(ctx context.Context, _ []string) error {
			o.JSON = a.isJSON()
			return a.deps.Demo(ctx, o, a.streams)
		},
	})
	c.Flags().BoolVar(&o.Once, "once", false, "end when all sample mail is accounted for (exit 0) or cannot be (exit 1)")
	c.Flags().StringVar(&o.Dir, "dir", "", "folder for the database, settings and log, kept (default: a temporary one)")
	return c
}
