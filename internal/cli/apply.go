package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postroom/postroom/internal/apply"
	"github.com/postroom/postroom/internal/config"
	"github.com/postroom/postroom/internal/store"
)

func (a *app) applyCommand() *cobra.Command {
	var paths []string
	var dryRun bool
	c := a.command(spec{
		use: "apply -f PATH", short: "Make users, queues, profiles and mailboxes what files say",
		long: `Reads a file, or every YAML file of a folder, shows what is to be created and changed, and does it in one
transaction. A second run changes nothing. Records that no file names are left alone.`,
		example: "  postroom apply -f organisation.yaml --dry-run\n  postroom apply -f /etc/postroom/records.d",
		args:    cobra.NoArgs,
		run: func(ctx context.Context, _ []string) error {
			if len(paths) == 0 {
				return misused("apply needs a file or folder: -f PATH")
			}
			desired, err := apply.Load(paths)
			if err != nil {
				return a.refuse(dryRun, err)
			}
			return a.withDB(ctx, true, func(ctx context.Context, db *store.DB, _ *config.Config) error {
				return a.apply(ctx, db, desired, dryRun)
			})
		},
	})
	c.Flags().StringArrayVarP(&paths, "file", "f", nil, "file or folder of records, may be given more than once")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "show what would change, and change nothing")
	return c
}

// applied is what apply prints.
type applied struct {
	OK      bool            `json:"ok"`
	DryRun  bool            `json:"dry_run"`
	Changes []apply.Change  `json:"changes"`
	Faults  []apply.Problem `json:"faults"` // of the files; nothing is changed if there are any
}

// refuse tells what is wrong with the files.
func (a *app) refuse(dryRun bool, err error) error {
	faulty := &configurationError{err}
	if !a.isJSON() {
		return faulty
	}
	faults, ok := errors.AsType[apply.RecordsError](err)
	if !ok {
		faults = apply.RecordsError{{Text: err.Error()}}
	}
	return errors.Join(a.printJSON(applied{DryRun: dryRun, Changes: []apply.Change{}, Faults: faults}), faulty)
}

func (a *app) apply(ctx context.Context, db *store.DB, desired *apply.Desired, dryRun bool) error {
	plan, err := apply.NewPlan(ctx, db, desired)
	if _, faulty := errors.AsType[apply.RecordsError](err); faulty {
		return a.refuse(dryRun, err)
	}
	if err != nil {
		return err
	}
	if !dryRun {
		if err := apply.Execute(ctx, db, plan); err != nil {
			return err
		}
	}
	if a.isJSON() {
		return a.printJSON(applied{OK: true, DryRun: dryRun, Changes: rowsOf(plan.Changes), Faults: []apply.Problem{}})
	}
	var b strings.Builder
	if err := plan.Print(&b); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	if dryRun && !plan.Empty() {
		b.WriteString("nothing was changed: --dry-run\n")
	}
	return a.print(b.String())
}
