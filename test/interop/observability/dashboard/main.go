// Reads a dashboard by Grafana's own schema, strictly: unknown or missing members, wrong types and broken constraints are errors.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func check() error {
	// With the types of panels and queries, whose options are checked, too.
	plugins.RegisterDefaultPlugins()
	raw, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var read dashboard.Dashboard
	for _, err := range []error{read.UnmarshalJSONStrict(raw), read.Validate()} {
		// An empty list of mistakes is an error, too.
		if err != nil && err.Error() != "" {
			return err
		}
	}
	fmt.Printf("%d panels\n", len(read.Panels))
	return nil
}

func main() {
	if err := check(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
