// rules checks files of Prometheus rule groups with Prometheus's own parsers: the groups, their names, labels, durations
// and templates, and every expression. It prints what is wrong and exits with 1.
package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	faults, rules := 0, 0
	for _, file := range os.Args[1:] {
		groups, errs := rulefmt.ParseFile(file, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.Default())
		for _, err := range errs {
			fmt.Fprintln(os.Stderr, err)
			faults++
		}
		if groups != nil {
			for _, group := range groups.Groups {
				rules += len(group.Rules)
			}
		}
	}
	fmt.Println(rules)
	if faults > 0 || rules == 0 {
		os.Exit(1)
	}
}
