package store

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/activity"
	"github.com/postroom/postroom/internal/fault"
)

// queueParties enters the parties of created and upgraded activities. On an upgrade the recipient mailbox and the owner
// have stayed; the others come after them.
func (a *attempt) queueParties(batch *pgx.Batch) {
	var c partyColumns
	for _, e := range a.created() {
		c.add(e, partiesOf(e))
	}
	for _, e := range a.upgraded() {
		c.add(e, partiesOf(e))
	}
	if len(c.ids) == 0 {
		return
	}
	batch.Queue(`
		INSERT INTO party (activity_id, ordinal, role, name, address, address_digest, party_type, party_id, owner_id, resolved_at)
		SELECT t.activity_id, coalesce(kept.n, 0) + t.ordinal, t.role, t.name, t.address, t.digest, t.party_type, t.party_id,
			t.owner_id, CASE WHEN t.resolved THEN now() END
		FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::text[], $8::text[], $9::text[],
			$10::boolean[]) AS t (activity_id, ordinal, role, name, address, digest, party_type, party_id, owner_id, resolved)
		LEFT JOIN (SELECT activity_id, max(ordinal) AS n FROM party WHERE activity_id = ANY ($1::uuid[]) GROUP BY 1) AS kept
			USING (activity_id)`,
		c.ids, c.ordinals, c.roles, c.names, c.addresses, c.digests, c.types, c.partyIDs, c.ownerIDs, c.resolved)
}

// partyColumns are parties as arrays, for unnest.
type partyColumns struct {
	ids                       []*uuid.UUID
	ordinals                  []int32
	roles, names, addresses   []string
	digests                   [][]byte
	types, partyIDs, ownerIDs []*string
	resolved                  []bool
}

func (c *partyColumns) add(e *email, parties []activity.Party) {
	for i := range parties {
		p := &parties[i]
		c.ids, c.ordinals = append(c.ids, &e.shown.id), append(c.ordinals, int32(i+1))
		c.roles, c.names = append(c.roles, string(p.Role)), append(c.names, clean(p.Name, maxName))
		c.addresses = append(c.addresses, clean(p.Address, maxAddress))
		c.digests = append(c.digests, activity.AddressDigest(p.Address))
		partyType, partyID := textOrNull(clean(p.Type, maxShort)), textOrNull(clean(p.ID, maxShort))
		if partyType == nil || partyID == nil {
			partyType, partyID = nil, nil
		}
		c.types, c.partyIDs = append(c.types, partyType), append(c.partyIDs, partyID)
		c.ownerIDs = append(c.ownerIDs, textOrNull(clean(p.OwnerID, maxShort)))
		c.resolved = append(c.resolved, p.Resolved || partyID != nil)
	}
}

// keepsPlace reports whether a party says whose the activity is: it stays when another copy is shown.
func keepsPlace(p activity.Party) bool {
	return p.Role == activity.RoleRecipientMailbox || p.Role == activity.RoleOwner
}

// partiesOf returns the parties to enter, bounded: of a created activity first those that keep their place, from the
// first copy, then those of the copy it shows.
func partiesOf(e *email) []activity.Party {
	var parties []activity.Party
	if e.created {
		parties = slices.DeleteFunc(slices.Clone(e.here[0].Activity.Parties), func(p activity.Party) bool { return !keepsPlace(p) })
	}
	parties = append(parties, slices.DeleteFunc(slices.Clone(e.best.Activity.Parties), keepsPlace)...)
	return parties[:min(len(parties), maxParties)]
}

const (
	partiesPerQuery = 5000 // addresses
	partiesPerEach  = 16   // entries for one address
)

// viewName is an identifier, perhaps with its schema, that needs no quotes.
var viewName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]{0,62}(\.[A-Za-z_][A-Za-z0-9_$]{0,62})?$`)

// PartyDirectory is the view that says who people are. It is a relate.Resolver. The view is an admin's own: whatever it
// does, it costs the time-out and no more, and it can write nothing.
type PartyDirectory struct {
	db      *DB
	view    string // as it is configured
	name    string // as SQL
	timeout time.Duration
}

// PartyDirectory returns the directory that is read from view: "party_directory", or an admin's own, with or without
// its schema. The view must have the columns address (lower case), party_type, party_id, name and owner_id. Timeout is
// of one query, on the server.
func (db *DB) PartyDirectory(view string, timeout time.Duration) (*PartyDirectory, error) {
	name, err := quoteView(view)
	if err != nil {
		return nil, err
	}
	return &PartyDirectory{db: db, view: view, name: name, timeout: timeout}, nil
}

// ResolveParties returns the entries for folded addresses, the one to choose first: users, queues, contacts, accounts,
// leads, others, then the lowest id. Its failures are faults of class Transient with the code parties_view.
func (d *PartyDirectory) ResolveParties(ctx context.Context, addresses []string) (map[string][]activity.Party, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout+time.Second) // the server's comes first
	defer cancel()
	entries := make(map[string][]activity.Party, len(addresses))
	for chunk := range slices.Chunk(addresses, partiesPerQuery) {
		if err := d.resolveChunk(ctx, chunk, entries); err != nil {
			return nil, fault.New(partiesClass(err), "parties_view",
				"Mail is recorded unresolved until the view of parties.view answers: run it by hand to see why it does not.",
				fmt.Errorf("ask %s for %d addresses: %w", d.view, len(addresses), err))
		}
	}
	return entries, nil
}

// quoteView returns the view's name as SQL. Names are folded as PostgreSQL folds them when they are not quoted.
func quoteView(view string) (string, error) {
	if !viewName.MatchString(view) {
		return "", fault.New(fault.Permanent, "parties_view_name", "Set parties.view to the name of a view, as in crm.party_directory.",
			fmt.Errorf("parties.view %q is not a name", clean(view, maxShort)))
	}
	return pgx.Identifier(strings.Split(strings.ToLower(view), ".")).Sanitize(), nil
}

func partiesClass(err error) fault.Class {
	if fault.ClassOf(Classify(err)) == fault.Stopping {
		return fault.Stopping
	}
	return fault.Transient
}

func (d *PartyDirectory) resolveChunk(ctx context.Context, addresses []string, entries map[string][]activity.Party) error {
	wanted := cleanList(addresses, len(addresses), maxAddress)
	tx, err := d.db.pool.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer rollback(ctx, tx)
	batch := &pgx.Batch{}
	batch.Queue(`SELECT set_config('statement_timeout', $1, true)`, milliseconds(d.timeout))
	// The name was checked and is quoted: a view cannot be a parameter.
	batch.Queue(`
		SELECT address, party_type, party_id, name, owner_id FROM (
			SELECT address::text AS address, coalesce(party_type::text, '') AS party_type, coalesce(party_id::text, '') AS party_id,
				coalesce(name::text, '') AS name, coalesce(owner_id::text, '') AS owner_id,
				row_number() OVER (PARTITION BY address ORDER BY
					array_position(ARRAY['user', 'queue', 'contact', 'account', 'lead'], party_type::text) NULLS LAST,
					party_type::text, length(party_id::text), party_id::text COLLATE "C") AS n
			FROM `+d.name+` WHERE address = ANY ($1::text[])) AS t
		WHERE n <= $2 ORDER BY address, n`, wanted, partiesPerEach).
		Query(func(rows pgx.Rows) error {
			var address string
			var p activity.Party
			_, err := pgx.ForEachRow(rows, []any{&address, &p.Type, &p.ID, &p.Name, &p.OwnerID}, func() error {
				if p.Type != "" && p.ID != "" {
					entries[address] = append(entries[address], p)
				}
				return nil
			})
			return err
		})
	return tx.SendBatch(ctx, batch).Close()
}
