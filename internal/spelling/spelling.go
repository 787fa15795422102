// Package spelling finds the word that was meant, for errors about keys that are not known. It is pure.
package spelling

import (
	"slices"
	"strings"
)

// longest is the longest name that is looked at: a key of a kilobyte is no slip of the pen.
const longest = 80

// slip is how many letters may differ.
const slip = 2

// Nearest returns the candidate that differs from name by the fewest letters, whatever their case, the first in
// alphabetical order of several; "" if that is more than a slip.
func Nearest(name string, candidates []string) string {
	if len(name) > longest {
		return ""
	}
	best, least := "", slip+1
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if d := distance(strings.ToLower(name), strings.ToLower(c)); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete or replace to get from a to b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal, row[j+1] = row[j+1], min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
