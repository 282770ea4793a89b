"""All tools by their names."""

from __future__ import annotations

from typing import Any

from astec.loadtest.peers.tools.fasttext_vectors import FastText
from astec.loadtest.peers.tools.napkinxc_tree import NapkinXc
from astec.loadtest.peers.tools.omikuji_trees import OmikujiBonsai, OmikujiParabel
from astec.loadtest.peers.tools.one_vs_rest import OneVsRest
from astec.loadtest.peers.tools.tool import Tool
from astec.loadtest.peers.tools.word_vector_search import Model2Vec
from astec.loadtest.peers.tools.xr_linear import Pecos, PecosText

TOOLS: dict[str, type[Tool[Any, Any]]] = {
    "omikuji-parabel": OmikujiParabel,
    "omikuji-bonsai": OmikujiBonsai,
    "dismec": OneVsRest,
    "pecos": Pecos,
    "pecos-text": PecosText,
    "napkinxc": NapkinXc,
    "fasttext": FastText,
    "model2vec": Model2Vec,
}
