// Package migrations holds the schema as numbered SQL files, applied in order by goose.
//
// A file that was released is never changed: a mistake is mended by the next file. SQL is unqualified, the schema is
// the first of the connection's search_path.
package migrations

import "embed"

// FS holds every migration file.
//
//go:embed *.sql
var FS embed.FS
