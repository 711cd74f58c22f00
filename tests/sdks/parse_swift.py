"""Prints the number of syntax errors that tree-sitter finds in Swift code: parse_swift.py CODE."""

import sys

import tree_sitter_swift
from tree_sitter import Language, Parser

tree = Parser(Language(tree_sitter_swift.language())).parse(sys.argv[1].encode())


def count_errors(node):
    return (node.type == "ERROR" or node.is_missing) + sum(map(count_errors, node.children))


print(count_errors(tree.root_node), "errors")
