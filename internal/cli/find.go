package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/postroom/postroom/internal/config"
	"github.com/postroom/postroom/internal/store"
)

func (a *app) findCommand() *cobra.Command {
	var sought store.Sought
	var from string
	var limit int
	c := a.command(spec{
		use: "find", short: "Find e-mails by Message-ID, address or time",
		long:    `What is given must all be met. Exits 1 if nothing is found.`,
		example: "  postroom find --message-id '<CAFk3x@mail.example>'\n  postroom find --address ann@customer.example --since 7d",
		args:    cobra.NoArgs,
		run: func(ctx context.Context, _ []string) error {
			var err error
			if sought.Page, err = page(from, limit); err != nil {
				return err
			}
			if sought.MessageID == "" && sought.Address == "" && from == "" {
				return misused("find needs --message-id, --address or --since")
			}
			return a.withDB(ctx, true, func(ctx context.Context, db *store.DB, _ *config.Config) error {
				return a.find(ctx, db, sought)
			})
		},
	})
	c.Flags().StringVar(&sought.MessageID, "message-id", "", "Message-ID, with or without angle brackets")
	c.Flags().StringVar(&sought.Address, "address", "", "address of a sender or receiver")
	c.Flags().StringVar(&from, "since", "", "received since: 24h, 7d, 2026-11-01 or RFC 3339")
	c.Flags().IntVar(&limit, "limit", 50, "how many at most")
	return c
}

func (a *app) find(ctx context.Context, db *store.DB, sought store.Sought) error {
	found, err := db.Find(ctx, sought)
	if err != nil {
		return err
	}
	if a.isJSON() {
		if err := a.printJSON(rowsOf(found)); err != nil {
			return err
		}
	} else if len(found) > 0 {
		t := table{header: []string{"ACTIVITY", "RECEIVED", "FROM", "SUBJECT"}, flex: 3, ids: true}
		for _, e := range found {
			id := "(deleted) " + e.EmailID.String()
			if e.ActivityID != nil {
				id = e.ActivityID.String()
			}
			t.add(id, minute(e.At), e.From, e.Subject)
		}
		if err := a.print(t.text(a.columns())); err != nil {
			return err
		}
	}
	if len(found) == 0 {
		a.complain("nothing was found", "postroom quarantine list shows mail that was not recorded")
		return errTold
	}
	return nil
}
