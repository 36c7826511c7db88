; A Kubernetes object is named by its kind and metadata.name; other documents by their two upper levels of keys.
((document (block_node (block_mapping
    (block_mapping_pair key: (flow_node) @_kind value: (flow_node) @name)
    (block_mapping_pair key: (flow_node) @_meta value: (block_node (block_mapping
      (block_mapping_pair key: (flow_node) @_name value: (flow_node) @name)))) @_pair))) @key
  (#eq? @_kind "kind") (#eq? @_meta "metadata") (#eq? @_name "name"))
((document (block_node (block_mapping (block_mapping_pair key: (flow_node) @name) @key)))
  (#not-match? @name "^(apiVersion|kind|metadata|<<)$"))
((document (block_node (block_mapping (block_mapping_pair key: (flow_node) @_outer
  value: (block_node (block_mapping (block_mapping_pair key: (flow_node) @name) @key))))))
  (#not-eq? @_outer "metadata") (#not-eq? @name "<<"))
