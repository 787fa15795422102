package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postroom/postroom/internal/config"
)

// systemConfig is read when no other file is named.
const systemConfig = "/etc/postroom/postroom.yaml"

// load reads the configuration.
func (a *app) load() (*config.Config, []string, error) {
	return config.Load(a.findConfig(), a.env)
}

func (a *app) findConfig() string {
	if a.configPath != "" {
		return a.configPath
	}
	for _, entry := range a.env {
		if path, ok := strings.CutPrefix(entry, "POSTROOM_CONFIG="); ok && path != "" {
			return path
		}
	}
	if _, err := os.Stat(systemConfig); !errors.Is(err, os.ErrNotExist) {
		return systemConfig
	}
	return ""
}

func (a *app) configCommand() *cobra.Command {
	check := a.command(spec{
		use: "check", short: "Say what is wrong with the configuration, everything at once",
		long:    `Reads the configuration as serve does, and the files of secrets that it names. Exits 78 if it has a fault.`,
		example: "  postroom config check\n  postroom config check --config ./postroom.yaml",
		args:    cobra.NoArgs, run: func(context.Context, []string) error { return a.configCheck() },
	})
	show := a.command(spec{
		use: "print", short: "Show the values in force and where each comes from",
		long: `Shows every key with its value and where that stands: the file and line, the environment, or the default. Passwords
are not shown.`,
		example: "  postroom config print\n  postroom config print --output json | jq -r '.[] | select(.from != \"default\") | .key'",
		args:    cobra.NoArgs, run: func(context.Context, []string) error { return a.configPrint() },
	})
	return group("config", "Check and show the configuration", "  postroom config check\n  postroom config print", check, show)
}

// configReport is what config check prints with --output json.
type configReport struct {
	OK       bool           `json:"ok"`
	File     string         `json:"file"` // "" if only defaults and the environment were read
	Faults   []config.Fault `json:"faults"`
	Warnings []string       `json:"warnings"`
}

func (a *app) configCheck() error {
	cfg, warnings, err := a.load()
	if err == nil {
		if _, secretErr := cfg.DatabaseURL(); secretErr != nil {
			err = &configurationError{secretErr}
		}
	}
	if a.isJSON() {
		return a.configReport(warnings, err)
	}
	for _, w := range warnings {
		a.complain("warning: "+w, "")
	}
	if err != nil {
		return err
	}
	name := a.findConfig()
	if name == "" {
		name = "no file, defaults and environment only"
	}
	return a.print("ok: " + clean(name) + "\n")
}

func (a *app) configReport(warnings []string, err error) error {
	r := configReport{OK: err == nil, File: a.findConfig(), Faults: []config.Fault{}, Warnings: rowsOf(warnings)}
	if e, ok := errors.AsType[*config.Error](err); ok {
		r.Faults = e.Faults
	} else if err != nil {
		r.Faults = []config.Fault{{Key: "database.password_file", Problem: err.Error()}}
	}
	return errors.Join(a.printJSON(r), err)
}

func (a *app) configPrint() error {
	cfg, _, err := a.load()
	if err != nil {
		return err
	}
	if a.isJSON() {
		return a.printJSON(cfg.Values())
	}
	t := table{header: []string{"KEY", "VALUE", "FROM"}}
	for _, v := range cfg.Values() {
		shown := v.Value
		if shown == "" {
			shown = `""`
		}
		t.add(v.Key, shown, v.From)
	}
	return a.print(t.text(0))
}

func (a *app) versionCommand() *cobra.Command {
	return a.command(spec{
		use: "version", short: "Show which Postroom this is", example: "  postroom version",
		args: cobra.NoArgs, run: func(context.Context, []string) error {
			if a.isJSON() {
				return a.printJSON(map[string]string{"version": a.deps.Version})
			}
			return a.print(fmt.Sprintf("postroom %s\n", a.deps.Version))
		},
	})
}
