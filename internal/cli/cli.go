// Package cli is Postroom's commands: thin ones, in files by noun. A command reads its arguments, asks a package that
// knows, and prints.
//
// Invariants: rows are printed as text or, with --output json, as stable objects with snake_case keys, and nothing else
// goes to standard output; a message's own text never reaches a terminal with control characters in it; every command
// has an example in --help; exit codes are 0 done, 1 failed, 2 usage, 78 configuration.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postroom/postroom/internal/config"
	"github.com/postroom/postroom/internal/fault"
)

// The exit codes.
const (
	Done          = 0
	Failed        = 1
	Usage         = 2  // the command line cannot be understood
	Configuration = 78 // EX_CONFIG of sysexits
)

// Streams are what a command reads from and writes to.
type Streams struct {
	In  io.Reader
	Out io.Writer // what was asked for, and nothing else
	Err io.Writer // errors, warnings, logs
}

// Deps are what the commands need from main's wiring.
type Deps struct {
	Version string

	// Serve runs the daemon until ctx ends. Load reads the configuration, with warnings that are to be logged; it may be
	// called again to see what has changed.
	Serve func(ctx context.Context, load LoadConfig, s Streams) error

	// Demo runs the daemon on sample servers and mail until ctx ends or, if it is asked to end by itself, until all mail is
	// accounted for. The command is there only if this is set.
	Demo func(ctx context.Context, o DemoOptions, s Streams) error
}

// LoadConfig reads the configuration that the command line and the environment name.
type LoadConfig func() (cfg *config.Config, warnings []string, err error)

// app is one run of the program.
type app struct {
	deps       Deps
	env        []string
	streams    Streams
	configPath string
	output     string
	running    bool // the command line was understood
}

// Run does what args (without the program's name) ask for and returns the exit code. Env is the environment
// ("NAME=value"). It has told of an error when it returns.
func Run(ctx context.Context, deps Deps, args, env []string, s Streams) int {
	a := &app{deps: deps, env: env, streams: s}
	root := a.root() //nolint:contextcheck // cobra hands ctx to each command
	root.SetArgs(args)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return Done
	}
	if !a.running {
		err = &usageError{err: err, command: cmd.CommandPath()}
	}
	return a.tell(err)
}

// Root returns the command tree, for generated documentation and tests. It cannot be executed.
func Root(deps Deps) *cobra.Command { return (&app{deps: deps}).root() }

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "postroom",
		Short: "Turn mail into records",
		Long: `Postroom polls mailboxes over IMAP and POP3, unwraps mail that was forwarded as attachment, and writes e-mail
activities to PostgreSQL.`,
		Example: `  postroom config check
  postroom apply -f organisation.yaml
  postroom serve
  postroom status`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return missingCommand(cmd) },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.output != "text" && a.output != "json" {
				return fmt.Errorf("--output is text or json, not %q", a.output)
			}
			return nil
		},
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&a.configPath, "config", "c", "", "configuration file (default $POSTROOM_CONFIG, else /etc/postroom/postroom.yaml if there)")
	flags.StringVar(&a.output, "output", "text", "text, or json for stable objects")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(a.serveCommand(), a.migrateCommand(), a.configCommand(), a.versionCommand(), a.statusCommand(),
		a.applyCommand(), a.mailboxCommand(), a.inspectCommand(), a.explainCommand(), a.findCommand(), a.activityCommand(),
		a.quarantineCommand())
	if a.deps.Demo != nil {
		root.AddCommand(a.demoCommand())
	}
	return root
}

// spec is a command.
type spec struct {
	use, short, long, example string
	args                      cobra.PositionalArgs
	run                       func(ctx context.Context, args []string) error
}

// command makes a command. From its run on, errors are not about the command line.
func (a *app) command(s spec) *cobra.Command {
	return &cobra.Command{
		Use: s.use, Short: s.short, Long: s.long, Example: s.example, Args: s.args,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.running = true
			err := s.run(cmd.Context(), args)
			if wrong, ok := errors.AsType[*usageError](err); ok {
				wrong.command = cmd.CommandPath()
			}
			return err
		},
	}
}

// group makes a command that only holds others.
func group(use, short, example string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use: use, Short: short, Example: example, Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return missingCommand(cmd) },
	}
	g.AddCommand(commands...)
	return g
}

func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	near := ""
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
		near = ", did you mean " + strings.Join(s, " or ") + "?"
	}
	return fmt.Errorf("%s has no command %q%s", cmd.CommandPath(), args[0], near)
}

func missingCommand(cmd *cobra.Command) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" {
			names = append(names, c.Name())
		}
	}
	return fmt.Errorf("%s needs a command: %s", cmd.CommandPath(), strings.Join(names, ", "))
}

// usageError says that the command line cannot be understood.
type usageError struct {
	err     error
	command string
}

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

func misused(format string, args ...any) error { return &usageError{err: fmt.Errorf(format, args...)} }

// configurationError marks an error that the admin mends in the configuration.
type configurationError struct{ err error }

func (e *configurationError) Error() string { return e.err.Error() }

func (e *configurationError) Unwrap() error { return e.err }

// errTold says that the command has printed what is wrong.
var errTold = errors.New("it was told")

// tell prints err and returns the exit code.
func (a *app) tell(err error) int {
	code := Failed
	_, _, text, hint := fault.Describe(err)
	_, faulty := errors.AsType[*config.Error](err)
	_, misconfigured := errors.AsType[*configurationError](err)
	wrong, isUsage := errors.AsType[*usageError](err)
	switch {
	case errors.Is(err, errTold):
		return Failed
	case isUsage:
		code, hint = Usage, wrong.command+" --help shows how it is used"
	case faulty:
		code, hint = Configuration, "postroom config check tells all faults, configs/postroom.yaml shows every key"
	case misconfigured:
		code = Configuration
	case errors.Is(err, context.Canceled):
		text, hint = "stopped", ""
	}
	a.complain(text, hint)
	return code
}

// complain writes what happened and what to do to standard error.
func (a *app) complain(text, hint string) {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = clean(line)
	}
	message := "postroom: " + strings.Join(lines, "\n") + "\n"
	if hint != "" {
		message += "  hint: " + clean(hint) + "\n"
	}
	_, _ = io.WriteString(a.streams.Err, message) // there is nowhere else to say it
}
