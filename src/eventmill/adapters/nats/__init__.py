"""NATS: topics in JetStream, and the transport between nodes. Needs `eventmill[nats]`.

connection   one connection that is made again for ever; requests over one inbox
wire         protocol lines and header blocks
subjects     names: how topics, partitions, keys and addresses become subjects
streams      the stream of a topic: made, compared, never changed
appending    one lane per topic: entries in atomic batches
reading      one consumer per shard, fetched ahead
admission    what plain clients sent, moved into partitions
broker, transport   the ports' fillings
"""
