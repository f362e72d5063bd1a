"""The systems of PAD's tables that share all its parts.

One expert alone, or PAD's phases with other settings.

How PAD's authors ran them is said in a few words only (arXiv 2412.04107, Sec. 4.1); what is a
choice of ours is in properties/model/<Model>.yaml and docs/methods.md 10.
"""

from __future__ import annotations

from recbole_precise.models.experts import ExpertsRecommender
from recbole_precise.models.pad import PAD


class Hybrid(ExpertsRecommender):
    """ID and modality fused into one item vector, one encoder, the recommendation loss alone.

    Reference:
        Zheng Yuan et al. "Where to Go Next for Recommender Systems? ID- vs. Modality-based
        Recommender Models Revisited." SIGIR 2023, arXiv 2303.13835: the combination of ID and
        frozen modality vectors that it compares with.
    """

    made_of = ("aligned",)


class MoRec(ExpertsRecommender):
    """The modality in the place of the ID: frozen text vectors behind an MLP.

    One encoder, the recommendation loss alone.

    Reference:
        Zheng Yuan et al., arXiv 2303.13835. There the text encoder is trained with the recommender;
        PAD's authors freeze it.
    """

    made_of = ("text",)


class CTRL(PAD):
    """Alignment of the ID and the text of each item by InfoNCE, then fine-tuning.

    Reference:
        Xiangyang Li et al. "CTRL: Connect Collaborative and Language Model for CTR Prediction." ACM
        TORS 2025, arXiv 2306.02841. There whole samples of click logs are aligned and the
        collaborative model alone goes on; in PAD's setting the pairs are items, and the recommender
        goes on with both sides, fused.
    """

    made_of = ("aligned",)


class MAKE(PAD):
    """The text expert is pre-trained by the recommendation loss, then joins the ID expert's score.

    Reference:
        Xiang-Rong Sheng et al. "Enhancing Taobao Display Advertising with Multimodal
        Representations: Challenges, Approaches and Insights." CIKM 2024, arXiv 2407.19467, the
            module MAKE (not SimTier, its companion).
    """

    made_of = ("id", "text")


class SMEM(PAD):
    """PAD without its alignment: shared and specific embeddings alone.

    The same experts, gate and phases.

    Reference:
        PAD (arXiv 2412.04107, Sec. 4), after STEM: Liangcai Su et al. "STEM: Unleashing the Power
        of Embeddings for Multi-task Recommendation." AAAI 2024, arXiv 2308.13537, whose
        stop-gradients inside the gate it does not take over.
    """
